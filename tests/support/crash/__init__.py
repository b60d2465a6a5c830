"""Kills, power loss and refused system calls, and the checks that follow them."""
