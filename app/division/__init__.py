"""How the components of an organelle were divided into objects: read, scored, and as a picture.

``divided`` reads what became of components, ``plane`` chooses what is shown, ``picture`` draws it.
"""
