"""Published versions elsewhere than on a local disk: pushed, pulled, and compared with their digests each way."""
