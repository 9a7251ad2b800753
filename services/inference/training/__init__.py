"""Training of networks: the only folder that imports torch (extra ``train``)."""
