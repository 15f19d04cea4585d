"""Checks descriptions for OpenAPI. usage: check_openapi.py FILE..."""

import json
import sys
from pathlib import Path

from openapi_spec_validator import validate

for name in sys.argv[1:]:
    validate(json.loads(Path(name).read_text()))
