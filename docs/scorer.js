// What a search shows first: pages that say how, then pages that say what came out, then lessons, and functions last.
var PLACES = [["tutorials/", 60], ["guide/", 50], ["videos", 30], ["index", 30], ["analysis/", 10], ["api", -20],
              ["guide/own", 14], ["guide/index", -20], ["guide/wrong", -35]];
var Scorer = {
  score: ([docname, title, anchor, descr, score]) =>
    score + PLACES.reduce((sum, [place, more]) => sum + (docname.startsWith(place) ? more : 0), 0),
  objNameMatch: 11, objPartialMatch: 6, objPrio: {0: 15, 1: 5, 2: -5}, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};
