"""Photographs as a training set: index maps of named things, and the language that can be made from them.

folders of photographs (`index`) -> `PhotoScene` (`scene`) -> cropped, flipped, ... (`augment`)
    -> questions and answers (`language`) -> `Example` (`dataset`)
"""
