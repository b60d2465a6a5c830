"""What Datasette needs to show an archive: metadata with descriptions, and a plug-in for the pictures.

Only the plug-in imports Datasette: it is copied out, and runs where Datasette is installed.
"""
