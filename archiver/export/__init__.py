"""The forms in which an archive can be exported: a folder of pictures, tables, a BagIt bag, a web site, and
that site as one WACZ file.

``open_export`` opens the directory or the file, ``export_sync`` brings a directory up to date.
The other modules define the files of each form.
"""
