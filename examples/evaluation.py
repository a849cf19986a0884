"""Errors by the 300-W protocol: python examples/evaluation.py FOLDER (of NAME.jpg and NAME.pts)"""

import sys

import numpy as np

from facealign_cli import Aligner, auc, evaluate, failure_rate, nme

evaluation = evaluate(sys.argv[1], Aligner(), init="detector")
for summary in evaluation.summaries:
    figures = summary.distributions["inter-ocular"]
    print(f"{summary.title}: {summary.n} faces, {summary.missed} without a prediction")
    print(f"   mean NME {100 * figures.mean:.2f} %, AUC at 0.08 {summary.auc:.3f}, failures {summary.failure_rate:.3f}")

# the same figures from arrays: (N, 68, 2) landmarks and truth, in pixels
rows = [row for row in evaluation.rows if row.landmarks is not None]
landmarks, truth = np.array([row.landmarks for row in rows]), np.array([row.truth for row in rows])
errors = nme(landmarks, truth, "inter-ocular")
errors = np.append(errors, [np.inf] * (len(evaluation.rows) - len(rows)))  # a missed face is a failure
print(f"from arrays: AUC at 0.08 {auc(errors, 0.08):.3f}, failures {failure_rate(errors, 0.08):.3f}")
