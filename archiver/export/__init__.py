"""The forms in which an archive can be exported: a folder of pictures, tables, a BagIt bag, a web site, and
that site as one WACZ file.

``open_export`` opens the directory, ``export_sync`` brings it up to date; ``new_file`` opens a single file.
The other modules define the files of each form.
"""
