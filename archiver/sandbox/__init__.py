"""A stand-in for HikerAPI and Instagram's CDN on loopback sockets.

It serves ``archiver demo``, tests and benchmarks. It imports nothing else of archiver, so its log is
independent evidence of what archiver requested.
"""
