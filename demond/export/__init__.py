"""Working surfaces for other people's programs: pages of faders, buttons and texts, laid out once and written in the
format of each.

:mod:`~demond.export.instrument` says what there is to show, :mod:`~demond.export.surface` lays it out in pages, and a
module for each program writes them: :mod:`~demond.export.open_stage_control`, :mod:`~demond.export.touchosc`,
:mod:`~demond.export.reaper`; :mod:`~demond.export.picture` draws them for the documentation. Called by
`demond export` and by `python -m demond.export.pictures`. Nothing here opens a port or a file.
"""
