import test from 'ava';
import { testCells } from './cells.ts';
import { L4_TOPOLOGIES } from './fault.ts';
import { FAULTS } from './matrix.ts';

testCells(test, L4_TOPOLOGIES, FAULTS, { waypoints: false });
