// Loaded before a process's own code (`node --expose-gc --import`): collects all its garbage when its parent says so, and answers when that is done.
process.on('message', (message) => {
  if (message?.kind !== 'collect') return;
  globalThis.gc();
  globalThis.gc(); // what only finalisers of the first round let go
  process.send({ kind: 'collected' });
});
