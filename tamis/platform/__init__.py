"""The platform by its import names: relative links to the folders and files at the top of the repository.

So a checkout, an editable install and a wheel, which has files in place of links, import the same names.
"""
