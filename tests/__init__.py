"""Tests, by package; `toys` is the plugin that they share."""
