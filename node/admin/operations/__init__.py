"""What an operator can do, one file per noun; node/admin/methods.py is the table of all."""
