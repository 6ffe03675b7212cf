"""Nights in hospital by sex or by age.

An entry point is a function of tables (name -> pyarrow.Table) and parameters (parsed JSON). It
returns a dict of output name -> JSON value (or pyarrow.Table, where the model is a data contract).
No network, no files, no second process: what it needs is in its arguments or in this folder.
"""

from typing import Any

import pandas as pd

SEXES = {1: "men", 2: "women"}
AGES = ["under 40", "40 to 64", "65 and over"]


def summary(tables: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """One row for each group. `_person` tells people apart in this run, and is nobody's name."""
    stays = tables["stays-v1"].to_pandas()
    if parameters["by"] == "sex":
        stays["group"] = stays["sex"].map(SEXES)
    else:
        bounds = [0, 40, 65, 121]
        stays["group"] = pd.cut(stays["age"], bounds, right=False, labels=AGES).astype(str)
    rows = [
        {
            "group": str(group),
            "people": int(members["_person"].nunique()),
            "stays": len(members),
            "mean_nights": float(members["nights"].mean()),
        }
        for group, members in stays.groupby("group")
    ]
    return {"table": rows}
