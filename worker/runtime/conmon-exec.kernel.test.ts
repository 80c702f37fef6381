import { openConmonExec } from './conmon-exec.ts'
import { openConmonRuntime } from './conmon-runtime.ts'
import { describeExecRuntime } from './exec-runtime.contract.ts'
import type { RuntimeFolders } from './oci-runtime.contract.ts'

const open = async (program: 'crun' | 'runc', folders: RuntimeFolders) => ({
  runtime: await openConmonRuntime({ ...folders, program }),
  execs: await openConmonExec({ ...folders, program }),
})

describeExecRuntime('crun below conmon', 'tecrun', folders => open('crun', folders))
describeExecRuntime('runc below conmon', 'terunc', folders => open('runc', folders))
