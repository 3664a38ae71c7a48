"""A laboratory of three clouds: an HTTPS fake of their endpoints, strict where emulators are lenient.

The clouds' own, unmodified SDKs talk to it. It checks signatures and tokens, refuses unknown machine types, missing
tags and missing permissions, honours idempotency tokens, throttles, pages, fails on demand, and bills exactly what was
launched, by a clock of its own.
"""
