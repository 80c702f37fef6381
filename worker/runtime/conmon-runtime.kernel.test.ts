import { openConmonRuntime } from './conmon-runtime.ts'
import { describeRuntime } from './oci-runtime.contract.ts'

describeRuntime('crun below conmon', 'trcrun', folders => openConmonRuntime({ ...folders, program: 'crun' }))
describeRuntime('runc below conmon', 'trrunc', folders => openConmonRuntime({ ...folders, program: 'runc' }))
