"""The values that all packages share. They are frozen; this package imports only ``errors``.

All datetimes are aware and UTC. A ``pk`` is a string of digits, since some exceed 2**63. Units are what
HikerAPI bills.
"""
