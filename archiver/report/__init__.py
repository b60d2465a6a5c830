"""Notifications: the report of a run, to a web address or through Apprise, and the pings to a monitor."""
