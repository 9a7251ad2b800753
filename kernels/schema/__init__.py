"""What annotators draw and networks learn: 37 fine classes, and the overlapping ones made of them.

===============  =================================================================================
``classes``      fine ids, super classes as unions of them, and which belong together in a loss
``strategies``   the sets of classes that one network predicts: all, many, few
``annotation``   what a crop's annotators drew, and where it may train a class
``shares``       how frequent classes are, and what share of each crop is annotated
===============  =================================================================================

From Heinrich et al., Nature 599 (2021), Extended Data Fig. 2, and the code of the paper.
"""
