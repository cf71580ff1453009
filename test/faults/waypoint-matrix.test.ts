import test from 'ava';
import { testCells } from './cells.ts';
import { WAYPOINT_TOPOLOGIES } from './fault.ts';
import { WAYPOINT_FAULTS } from './matrix.ts';

testCells(test, WAYPOINT_TOPOLOGIES, WAYPOINT_FAULTS, { waypoints: true });
