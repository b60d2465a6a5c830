"""The archive as the command line and Python programs use it, and what creates one."""
