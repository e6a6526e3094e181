"""Files of fitted estimators and of interrupted fits: data alone, no pickles."""

__all__: list[str] = []
