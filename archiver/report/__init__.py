"""Notifications: what a run reports to a web address or a service of Apprise, and the pings of a monitor."""
