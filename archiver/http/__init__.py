"""HTTP/1.1 below the API client and the downloader: one request at a time on connections that are checked."""
