"""The environment "scientific": all of it works in the datacage, within the default limits."""

import json

import pytest

from enclave_host import outputs
from enclave_host.cage import Cage, Job, NoTier
from node.demo.stage import ENVIRONMENTS
from tests.e2e.guides import ROOT

ENVIRONMENT = ROOT / ".cache" / "environments" / "scientific"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not ENVIRONMENTS.is_dir(), reason="needs make setup: the environment"),
]

CODE = b"""
import duckdb, numpy, pandas, pyarrow, scipy.stats
import statsmodels.api
from sklearn.linear_model import LogisticRegression

def fit(tables, parameters):
    random = numpy.random.default_rng(1)
    x = random.normal(size=(5000, 3))
    y = (x[:, 0] + random.normal(size=5000) > 0).astype(int)
    frame = pandas.DataFrame({"y": y})
    table = pyarrow.Table.from_pandas(frame)
    with duckdb.connect() as database:
        database.register("rows", table)
        counted = database.execute("SELECT count(*) FROM rows").fetchall()[0][0]
    model = statsmodels.api.Logit(y, statsmodels.api.add_constant(x)).fit(disp=0)
    return {
        "sklearn": float(LogisticRegression(C=1e6).fit(x, y).coef_[0][0]),
        "statsmodels": float(model.params[1]),
        "scipy": float(scipy.stats.norm.cdf(0)),
        "pandas": int(frame.groupby("y").size().sum()),
        "duckdb": counted,
    }
"""


def test_all_of_it_works_in_the_datacage():
    try:
        cage = Cage.probe("A")
    except NoTier as error:
        pytest.skip(str(error))
    outcome = cage.run(Job(environment=ENVIRONMENT, code={"m.py": CODE}, entry="m:fit"))
    assert outcome.status == "ok", outcome.log.decode()
    found = {name: json.loads(one.content) for name, one in outputs.parse(outcome.output).items()}
    assert found["sklearn"] == pytest.approx(found["statsmodels"], abs=1e-3)
    assert (found["scipy"], found["pandas"], found["duckdb"]) == (0.5, 5000, 5000)
