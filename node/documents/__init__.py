"""Files that people write (agreement, algorithm, policy), turned into documents of the protocol."""
