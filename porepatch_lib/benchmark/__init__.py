"""Descriptors side by side: trained alike, verified on the same test sets, timed on the same patches."""
