#!/bin/sh
# Stands in for a counting program: `figures`, in the folder that it is called from by its link, has a part and its instructions a line.
set -eu
figures=$(dirname "$0")/figures
case $# in
0) cut -d' ' -f1 "$figures" ;;
*) awk -v part="$1" -v times="$2" '$1 == part { print "==1== Collected : " 5000 + times * $2 }' "$figures" ;;
esac
