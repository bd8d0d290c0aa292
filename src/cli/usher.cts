#!/usr/bin/env node
// Where the `usher` command begins. CommonJS, because the size of libuv's thread pool is read at its first use, and
// the loader of ES modules uses it before any of their code runs.
//
// Why more than the default of four: every operation on the store waits for one of these threads. With four of them stuck in
// slow reads or syncs on a share, presence, or a leader's next claim, would wait for them, and outlive its lease.
process.env['UV_THREADPOOL_SIZE'] ??= '16'
void import('./main.ts')
