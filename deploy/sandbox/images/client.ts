/* halo/client: does nothing until it is asked to end; for `halo exec`. */
console.log('client: waiting');
const alive = setInterval(() => undefined, 1 << 30);
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.once(signal, () => {
    clearInterval(alive);
  });
