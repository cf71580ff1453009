import test from 'ava';
import { hostnameMatches, intersectHostnames } from '../../../mesh/model/gateway-listener.ts';

test('hostnameMatches() takes a wildcard for one or more labels and never for none', (t) => {
  t.true(hostnameMatches('', 'any.example'));
  t.true(hostnameMatches('a.example.com', 'a.example.com'));
  t.true(hostnameMatches('*.example.com', 'a.example.com'));
  t.true(hostnameMatches('*.example.com', 'a.b.example.com'));
  t.true(hostnameMatches('*.example.com', '*.b.example.com'));
  t.false(hostnameMatches('*.example.com', 'example.com'));
  t.false(hostnameMatches('*.example.com', 'aexample.com'));
  t.false(hostnameMatches('a.example.com', 'b.a.example.com'));
  t.false(hostnameMatches('*.b.example.com', '*.example.com'));
});

test('intersectHostnames() is the narrower of two names, either way around', (t) => {
  const both = (one: string, other: string, expected: string | undefined): void => {
    t.is(intersectHostnames(one, other), expected);
    t.is(intersectHostnames(other, one), expected);
  };
  both('', '', '');
  both('', '*.example.com', '*.example.com');
  both('*.example.com', 'a.example.com', 'a.example.com');
  both('*.example.com', '*.a.example.com', '*.a.example.com');
  both('*.example.com', 'example.com', undefined);
  both('a.example.com', 'b.example.com', undefined);
});
