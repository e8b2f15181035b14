"""Working surfaces for other people's programs: pages of faders, buttons and texts, laid out once and written in the
format of each.

:mod:`~demond.export.instrument` says what there is to show, :mod:`~demond.export.surface` lays it out in pages of
:mod:`~demond.export.widgets`, and a module for each program writes them: :mod:`~demond.export.open_stage_control`,
:mod:`~demond.export.touchosc`, :mod:`~demond.export.reaper`. Called by `demond export`, and by `demond.pictures` for
the documentation. Nothing here opens a port or a file, but for the questions to a daemon.
"""
