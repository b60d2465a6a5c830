"""The web server of ``archiver serve``: it shows an archive, and changes nothing in it."""
