"""Where the bytes of an archive are: below a directory of a disk, or below a prefix of a bucket."""
