"""The values that all packages share: frozen, slotted, checked when they are made. Imports only the errors.

All datetimes are aware and UTC. A ``pk`` is a string of digits: some exceed 2**63. Units are what HikerAPI bills.
"""
