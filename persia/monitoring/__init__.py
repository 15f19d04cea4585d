"""Seeing what servers do, from outside of them: probes of their health, and a console for people."""
