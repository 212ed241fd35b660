"""Looking through a prepared collection: which rows match, and how values are distributed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ldm.data.prepared.folder import Prepared

UNKNOWN = "unknown"
OF_A_FINDING = ("name", "side", "severity", "certainty")


@dataclass(frozen=True)
class Query:
    """What to look for; an empty field matches everything.

    Attributes:
        findings: names, all of which must be in the row's text with a certainty of `certainty`.
        certainty: of these findings; empty is any.
        side: of these findings; None is any.
        views, sexes, splits, sources: values of the columns, `UNKNOWN` where nothing is known.
        ages: youngest and oldest in years, both included; rows of unknown age do not match then.
        text: words or a part of one, in any case, all of which the text holds.
    """

    findings: Sequence[str] = ()
    certainty: Sequence[str] = ("present",)
    side: str | None = None
    views: Sequence[str] = ()
    sexes: Sequence[str] = ()
    splits: Sequence[str] = ()
    sources: Sequence[str] = ()
    ages: tuple[float, float] | None = None
    text: str = ""


@dataclass
class Catalogue:
    """A collection made ready for many queries: lists are flattened once, and words are numbers, in Arrow's columns.

    Args:
        prepared: the collection.

    Attributes:
        mentions: DataFrame of row, name, side, severity, certainty; one row for each finding of each image.
    """

    prepared: Prepared
    mentions: pd.DataFrame = field(init=False)

    def __post_init__(self) -> None:
        table = self.prepared.table
        self.mentions = mentions(table.column("findings"))
        self._lower = pc.utf8_lower(table.column("text"))
        self._columns = {
            name: categories(pc.fill_null(table.column(name), UNKNOWN))
            for name in ("view", "sex", "split", "source")
            if name in table.column_names
        }
        nobody = pa.nulls(len(table), pa.float64())  # a folder that was prepared before ages were kept
        ages = table.column("age") if "age" in table.column_names else nobody
        self.ages = ages.to_numpy(zero_copy_only=False).astype(float)

    def values(self, column: str) -> list[str]:
        """Values of view, sex, split or source that occur, in alphabetical order."""
        return sorted(self._columns[column].cat.categories) if column in self._columns else []

    def names(self) -> list[str]:
        """Findings that occur, the most frequent first."""
        return self.mentions["name"].value_counts().index.tolist()

    def select(self, query: Query) -> np.ndarray:
        """Row numbers that match, int64, ascending."""
        matches = np.ones(len(self.prepared), dtype=bool)
        for column, wanted in {
            "view": query.views,
            "sex": query.sexes,
            "split": query.splits,
            "source": query.sources,
        }.items():
            if wanted:
                matches &= self._columns[column].isin(list(wanted)).to_numpy()
        for name in query.findings:
            matches &= self._naming(name, query)
        if query.ages is not None:
            low, high = query.ages
            matches &= (self.ages >= low) & (self.ages <= high)
        for word in query.text.lower().split():
            matches &= pc.match_substring(self._lower, word).to_numpy(zero_copy_only=False)
        return np.flatnonzero(matches)

    def _naming(self, name: str, query: Query) -> np.ndarray:
        mentions = self.mentions[self.mentions["name"] == name]
        if query.certainty:
            mentions = mentions[mentions["certainty"].isin(list(query.certainty))]
        if query.side is not None:
            mentions = mentions[mentions["side"] == query.side]
        found = np.zeros(len(self.prepared), dtype=bool)
        found[mentions["row"].to_numpy(dtype=int)] = True
        return found

    def counts(self, rows: np.ndarray) -> dict[str, pd.DataFrame]:
        """How often each value occurs among `rows`: tables of value and images for findings, view, sex, split, age."""
        among = self.mentions[self.mentions["row"].isin(rows) & (self.mentions["certainty"] == "present")]
        found = among.drop_duplicates(["row", "name"])["name"].value_counts()
        tables = {"finding": found[found > 0]}
        for name in ("view", "sex", "split", "source"):
            if name in self._columns:
                counted = self._columns[name].iloc[rows].value_counts()
                tables[name] = counted[counted > 0]
        years = self.ages[rows]
        decades = pd.Series(np.floor(years[np.isfinite(years)] / 10).astype(int) * 10).value_counts().sort_index()
        decades.index = [f"{start:02d}–{start + 9:02d}" for start in decades.index]
        tables["age"] = decades
        return {
            name: pd.DataFrame({name: table.index.astype(str), "images": table.to_numpy()})
            for name, table in tables.items()
        }


def mentions(findings: pa.ChunkedArray) -> pd.DataFrame:
    """A row for each finding of each image: the image's row number, and OF_A_FINDING."""
    lists = pa.array([], findings.type) if not len(findings) else findings.combine_chunks()
    found = pc.list_flatten(lists)
    named = {name: categories(pc.struct_field(found, name)) for name in OF_A_FINDING}
    return pd.DataFrame({"row": pc.list_parent_indices(lists).to_numpy(zero_copy_only=False), **named})


def categories(words: pa.Array) -> pd.Series:
    """Words that repeat, as pandas keeps them: each once, and numbers."""
    return pd.Series(pa.chunked_array(words).dictionary_encode().combine_chunks().to_pandas())
