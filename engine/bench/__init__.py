"""Measurements of the engine without audio, JACK or control: how it reacts (`flip`), what it costs (`audit`)."""
