"""The forms in which an archive can be exported: a folder of pictures, tables, a BagIt bag, a web site.

``open_export`` opens the directory, ``export_sync`` brings it up to date. The other modules define the files
of each form.
"""
