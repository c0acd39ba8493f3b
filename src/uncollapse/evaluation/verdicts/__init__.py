"""What the rows of a trial say, in plain sentences that claim no more than was measured."""

from uncollapse.evaluation.verdicts.gains import LEVEL as LEVEL
from uncollapse.evaluation.verdicts.gains import SMALL as SMALL
from uncollapse.evaluation.verdicts.judgement import judge as judge
from uncollapse.evaluation.verdicts.numbers import signed as signed
