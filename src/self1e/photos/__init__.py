"""Photographs as a training set: index maps of named things, and the language that can be made from them.

folders of photographs (`index`) -> `Scene` (`scene`) -> cropped, flipped, ... (`augment`)
    -> questions and answers (`language`) -> `Example` (`dataset`)
"""
