"""Downloads from Instagram's CDN: free, without a key, into a sink that the caller passes."""
