"""The pure core of Village: what is true, what is allowed, what happens next; it never acts."""
