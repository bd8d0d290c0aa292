// Sends single jobs, each alone on an idle store: random pauses, so that they don't keep step with what polls.
//
//   node one-by-one.mjs CLIENT_MODULE ADDRESS JOBS
const [module, address, jobs] = process.argv.slice(2)
const { Client } = await import(module)
const client = new Client({ addresses: address })
for (let sent = 0; sent < Number(jobs); sent += 1) {
  await client.send({ executable: '/bin/true' })
  await new Promise((resolve) => setTimeout(resolve, 100 + Math.random() * 200))
}
await client.close()
