// A server whose only cluster a test scripts, and the commands with which operators decide about its jobs.
import { expect } from 'vitest'
import { ScriptedCluster } from './scripted-cluster.ts'
import { makeFolder, ServerProcess, usher } from './usher-process.ts'

export interface Listed {
  readonly id: string
  readonly reason: string
  readonly segment: string
  readonly at: string
}

export interface ClusterServer {
  readonly cluster: ScriptedCluster
  readonly store: string
  readonly folder: string
  serve(): Promise<ServerProcess>
  /** Runs a command on the store, expects it to succeed, and returns what it printed. */
  command(...args: string[]): Promise<string>
  list(which: 'dead' | 'doubt'): Promise<Listed[]>
}

/** `cluster` is TOML for [cluster.web], which has driver and url already. What was begun is ended by `cleanups`, last first. */
export const scriptedServer = async (cleanups: (() => unknown)[], cluster = '', top = ''): Promise<ClusterServer> => {
  const folder = await makeFolder()
  cleanups.push(folder.remove)
  const scripted = await ScriptedCluster.start()
  cleanups.push(() => scripted.close())
  const store = `${folder.path}/store`
  const config = `lease = 0.5\naccept_lease = 2\n${top}\n[submit]\nretry_min = 0.05\nretry_max = 0.5\n[log]\nlevel = "warn"\n[cluster.web]\ndriver = "http"\nurl = "${scripted.url}"\n${cluster}\n`
  const command = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await usher([...args, '--store', store])
    expect(status, `usher ${args.join(' ')}: ${stderr}`).toBe(0)
    return stdout
  }
  return {
    cluster: scripted,
    store,
    folder: folder.path,
    command,
    serve: async () => {
      const server = await ServerProcess.start({ config, store, folder: folder.path })
      cleanups.push(() => server.end('SIGKILL'))
      return server
    },
    list: async (which) => JSON.parse(await command(...(which === 'dead' ? ['dead', 'list'] : ['resolve']), '--json')) as Listed[],
  }
}
