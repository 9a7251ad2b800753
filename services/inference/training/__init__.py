"""Training of networks: the only room that imports torch (extra ``train``)."""
