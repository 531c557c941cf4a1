"""Helpers of the tests: servers, browsers, worlds to count in, programs to talk to."""
