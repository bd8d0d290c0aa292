// What can be wrong with a share, on a host that really mounts it so: options that lose or hide data, no share where one
// should be, and another store in its place. Refused at the start, or stopped, with a reason that says what to do.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../support/usher-process.ts'
import { cli, Lab, nfsVersion, programs, store } from './lab.ts'

let lab: Lab
beforeAll(async () => {
  lab = await Lab.up(1)
  await lab.startCluster(1)
  // A store that is there before, made by a host that did everything right.
  await lab.serve(1)
  await lab.accepting(1)
  await end()
}, 120_000)
afterAll(async () => {
  await lab.down()
}, 60_000)

/** Ends usher on the host in an orderly way, and the loop that would start it again with it. */
const end = async (): Promise<void> => {
  await lab.exec(1, `pkill -TERM -f '${programs.server}'`)
  await until('usher has ended', async () => (await lab.exec(1, `pgrep -f '${programs.server}'`)).status === 1)
}

const said = async (): Promise<string> => (await lab.exec(1, `cat ${lab.folder}/1/usher.log`)).stdout

/** The same export, mounted elsewhere with these options. Superblocks aren't shared, or the first mount's options would count. */
const mountAs = async (options: string): Promise<string> => {
  const [from, base] = nfsVersion.startsWith('4') ? ['10.9.0.1:/', `vers=${nfsVersion}`] : ['10.9.0.1:/mnt/share', 'vers=3']
  const { status, stdout } = await lab.exec(1, `mkdir -p /mnt/other && mount -t nfs -o ${base},nosharecache,${options} ${from} /mnt/other`)
  expect(status, stdout).toBe(0)
  return '/mnt/other'
}

const unmount = (point: string): Promise<unknown> => lab.exec(1, `umount -l ${point}`)

describe(`a share on NFS ${nfsVersion}`, () => {
  it.each([
    ['soft', /mounted with soft: data can be lost or hidden from other hosts \(mount it with 'hard,cto'/],
    ['softerr', /mounted with softerr: data can be lost or hidden from other hosts \(mount it with 'hard,cto'/],
    ['nocto', /mounted with nocto: data can be lost or hidden from other hosts \(mount it with 'hard,cto'/],
    ['ro', /is mounted read-only \(mount it read-write\)/],
  ])('that is mounted with %s is refused, and so it is by the doctor', async (option, reason) => {
    const point = await mountAs(option)
    try {
      const config = await lab.configure(1)
      const served = await lab.usher(1, `serve --config ${config} --store ${point}/usher`)
      expect(served.status, served.stdout).toBe(69)
      expect(served.stdout).toMatch(reason)
      const examined = await lab.usher(1, `doctor --json --config ${config} --store ${point}/usher`)
      expect(examined.status, examined.stdout).toBe(78)
      expect(examined.stdout).toContain(option === 'ro' ? 'mount it read-write' : "mount it with 'hard,cto'")
    } finally {
      await unmount(point)
    }
  })

  it('that is unmounted under a running usher makes it wait, write nothing, and go on when it is back', async () => {
    await lab.serve(1)
    await lab.accepting(1)
    // What holds files of it keeps them; by its path nothing of the share is there any more.
    await unmount('/mnt/share')
    await until('it says that the share is gone', async () => /the store is away: store\.json is gone: is the share still mounted\?/.test(await said()))
    expect((await lab.exec(1, 'find /mnt/share -mindepth 1')).stdout).toBe('')
    const [from, options] = nfsVersion.startsWith('4') ? ['10.9.0.1:/', `vers=${nfsVersion},hard`] : ['10.9.0.1:/mnt/share', 'vers=3,hard']
    expect((await lab.exec(1, `mount -t nfs -o ${options} ${from} /mnt/share`)).status).toBe(0)
    await lab.accepting(1)
    await until('it leads again', async () => (await lab.status(1)).leader?.host === 'host1')
    await end()
  })

  it('in whose place another store is mounted ends usher, which says which one it is', async () => {
    await lab.exec(1, 'mkdir -p /mnt/share/other')
    const config = await lab.configure(1)
    // The store of another installation, made as one is made.
    await lab.spawn(1, 'other', `cd /; timeout -s TERM 20 node ${cli} serve --config ${config} --store /mnt/share/other/usher --listen 127.0.0.1:7444`)
    await until('the other store is there', async () => (await lab.exec(1, 'test -e /mnt/share/other/usher/store.json')).status === 0)
    const other = JSON.parse((await lab.exec(1, 'cat /mnt/share/other/usher/store.json')).stdout) as { uuid: string }
    const right = JSON.parse((await lab.exec(1, `cat ${store}/store.json`)).stdout) as { uuid: string }
    const hostsOf = async (directory: string): Promise<string> => (await lab.exec(1, `ls ${directory}/hosts`)).stdout
    await until('the other usher has ended', async () => (await lab.exec(1, `pgrep -f '${programs.server}'`)).status === 1)
    const others = await hostsOf('/mnt/share/other/usher')
    expect(others).toMatch(/^host1-[^\n]*\n$/)
    await lab.spawn(1, 'once', `cd /; node ${cli} serve --config ${config}; echo "ended with $?"`)
    await lab.accepting(1)
    expect((await lab.exec(1, `mount --bind /mnt/share/other/usher ${store}`)).status).toBe(0)
    const log = async (): Promise<string> => (await lab.exec(1, `cat ${lab.folder}/1/once.log`)).stdout
    await until('usher has ended', async () => /ended with [0-9]+/.test(await log()))
    expect(await log()).toContain(`the directory is the store ${other.uuid} now, not ${right.uuid} any more`)
    expect(await log()).toContain('ended with 78')
    // Of the one that was misled nothing got there.
    expect(await hostsOf(store)).toBe(others)
  })
})
